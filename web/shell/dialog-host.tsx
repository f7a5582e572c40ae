import { lazy, Suspense } from "react";
import { closeDialog, useDialog } from "./dialogs.ts";

const NewTaskDialog = lazy(() => import("../new-task/new-task-dialog.tsx"));
const RaiseLimitDialog = lazy(() => import("../tasks/raise-limit-dialog.tsx"));
const AlertsDialog = lazy(() => import("./alerts-dialog.tsx"));
const MenuDialog = lazy(() => import("./menu-dialog.tsx"));
const ShortcutsDialog = lazy(() => import("./shortcuts-dialog.tsx"));

/** Draws the open dialog; each is loaded when it is first needed. */
export function DialogHost() {
  const open = useDialog((state) => state.open);
  if (open === undefined) return null;
  return (
    <Suspense fallback={null}>
      {open.kind === "new-task" && <NewTaskDialog draft={open.draft} onClose={closeDialog} />}
      {open.kind === "raise-limit" && (
        <RaiseLimitDialog target={open.target} onClose={closeDialog} />
      )}
      {open.kind === "alerts" && <AlertsDialog onClose={closeDialog} />}
      {open.kind === "menu" && <MenuDialog onClose={closeDialog} />}
      {open.kind === "shortcuts" && <ShortcutsDialog onClose={closeDialog} />}
    </Suspense>
  );
}
