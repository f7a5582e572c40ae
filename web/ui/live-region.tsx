import { useAnnouncement } from "./announce.ts";

/** Where announcements are read from; mounted once. */
export function LiveRegion() {
  const { text, count } = useAnnouncement();
  return (
    <output aria-live="polite" className="visually-hidden">
      <span key={count}>{text}</span>
    </output>
  );
}
