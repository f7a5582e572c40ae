import { useAnnouncement } from "./announce.ts";

/** Where announcements are read from; mounted once. */
export function LiveRegion() {
  const { text, count } = useAnnouncement();
  return (
    <div role="status" aria-live="polite" className="visually-hidden">
      <span key={count}>{text}</span>
    </div>
  );
}
