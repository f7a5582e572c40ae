import { useId, useState, type ReactNode } from "react";
import { ChevronRight } from "lucide-react";
import styles from "./transcript.module.css";

/** One step: a line that opens. Without `children` there is nothing to open, and it is only a line. */
export function Step({
  number,
  icon,
  title,
  meta,
  tone,
  startsOpen,
  children,
}: {
  number: number;
  icon: ReactNode;
  title: ReactNode;
  meta: ReactNode;
  tone: "calm" | "running" | "failed" | "unknown";
  startsOpen: boolean;
  children?: ReactNode;
}) {
  // Until the reader decides, the step decides: what has nothing to say closes by itself.
  const [chosen, setChosen] = useState<boolean>();
  const open = chosen ?? startsOpen;
  const id = useId();
  const line = (
    <>
      <span className={styles["number"]}>{number}</span>
      <span className={styles["icon"]} aria-hidden>
        {icon}
      </span>
      <span className={styles["title"]}>{title}</span>
      <span className={styles["meta"]}>{meta}</span>
    </>
  );
  return (
    <div className={`${styles["step"]} ${styles[tone]}`}>
      {children === undefined ? (
        <div className={styles["line"]}>
          <span className={styles["chevron"]} />
          {line}
        </div>
      ) : (
        <button
          type="button"
          className={styles["line"]}
          aria-expanded={open}
          aria-controls={id}
          onClick={() => setChosen(!open)}
        >
          <ChevronRight size={14} aria-hidden className={styles["chevron"]} />
          {line}
        </button>
      )}
      {children !== undefined && (
        <div id={id} hidden={!open} className={styles["body"]}>
          {open && children}
        </div>
      )}
    </div>
  );
}
