import { create } from "zustand";
import type { LimitTarget } from "../tasks/limit-target.ts";

/** What a new task starts from, for example to run one again. */
export type TaskDraft = {
  agent?: string;
  prompt?: string;
  costLimitNanoUsd?: number;
  uploadId?: string;
};

export type OpenDialog =
  | { kind: "new-task"; draft: TaskDraft }
  | { kind: "raise-limit"; target: LimitTarget }
  | { kind: "alerts" }
  | { kind: "shortcuts" }
  | { kind: "menu" };

/** The one dialog that is open, from wherever it was asked for. */
export const useDialog = create<{ open: OpenDialog | undefined }>(() => ({ open: undefined }));

export function openDialog(dialog: OpenDialog): void {
  useDialog.setState({ open: dialog });
}

export function closeDialog(): void {
  useDialog.setState({ open: undefined });
}

export function openNewTask(draft: TaskDraft = {}): void {
  openDialog({ kind: "new-task", draft });
}
