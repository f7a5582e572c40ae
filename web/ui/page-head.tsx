import { useEffect, type ReactNode } from "react";

/** The page's heading, also as the title of the tab. `actions` stand beside it. */
export function PageHead({
  title,
  children,
  actions,
}: {
  title: string;
  children?: ReactNode;
  actions?: ReactNode;
}) {
  useEffect(() => {
    document.title = `${title} · Guildhall`;
  }, [title]);
  return (
    <header className="page-head">
      <div>
        <h1>{title}</h1>
        {children}
      </div>
      {actions}
    </header>
  );
}
