import { memo, useLayoutEffect, useRef, useState } from "react";
import { ArrowDown } from "lucide-react";
import type { Entry, TaskView } from "../../../../events/task-view.ts";
import { t } from "../../../../messages/translate.ts";
import { Button } from "../../../../ui/button.tsx";
import { Loading } from "../../../../ui/loading.tsx";
import { ModelStep } from "./model-step.tsx";
import { NoteLine } from "./note-line.tsx";
import { ToolStep } from "./tool-step.tsx";
import styles from "./transcript.module.css";

/** Nearer to the end than this counts as being at the end. */
const atEndPx = 32;

const EntryRow = memo(function EntryRow({ entry }: { entry: Entry }) {
  switch (entry.kind) {
    case "model":
      return <ModelStep entry={entry} />;
    case "tool":
      return <ToolStep entry={entry} />;
    case "note":
      return <NoteLine note={entry.note} at={entry.at} />;
  }
});

/**
 * Everything that happened, newest at the end. It follows the end until the reader scrolls up, and then says how much
 * is new below instead of pulling the text away.
 */
export function Transcript({ view }: { view: TaskView }) {
  const scroller = useRef<HTMLElement>(null);
  const [follows, setFollows] = useState(true);
  const [seen, setSeen] = useState(0);
  const { entries } = view;
  const count = entries.length;
  const fresh = follows ? 0 : Math.max(0, count - seen);

  useLayoutEffect(() => {
    const element = scroller.current;
    if (follows && element && entries.length > 0) element.scrollTop = element.scrollHeight;
  }, [follows, entries]);

  function scrolled() {
    const element = scroller.current;
    if (element === null) return;
    const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight <= atEndPx;
    if (atEnd === follows) return;
    setFollows(atEnd);
    setSeen(count);
  }

  return (
    <section aria-labelledby="transcript" className={`panel ${styles["transcript"]}`}>
      <h2 id="transcript">{t("transcript.title")}</h2>
      <div className={styles["frame"]}>
        <section
          ref={scroller}
          aria-label={t("transcript.events")}
          // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a scrolling region must be reachable by keyboard
          tabIndex={0}
          className={styles["scroller"]}
          onScroll={scrolled}
        >
          {count === 0 && <Loading label={t("transcript.empty")} />}
          <ol className={styles["entries"]}>
            {entries.map((entry) => (
              <li key={entry.key}>
                <EntryRow entry={entry} />
              </li>
            ))}
          </ol>
        </section>
        {!follows && (
          <Button
            className={styles["jump"] ?? ""}
            icon={<ArrowDown size={16} aria-hidden />}
            onClick={() => setFollows(true)}
          >
            {fresh > 0 ? t("transcript.jumpNew", { count: fresh }) : t("transcript.jump")}
          </Button>
        )}
      </div>
    </section>
  );
}
