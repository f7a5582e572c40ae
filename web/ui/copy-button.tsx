import { useState } from "react";
import { Check, Copy } from "lucide-react";
import { t } from "../messages/translate.ts";
import { announce } from "./announce.ts";
import { IconButton } from "./button.tsx";

/** Copies `text`; the icon changes and the change is announced. */
export function CopyButton({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // The clipboard is closed to pages that are not served over TLS or from this machine.
      announce(t("copy.failed"));
      return;
    }
    setCopied(true);
    announce(t("copy.done"));
  }
  return (
    <IconButton
      label={label}
      icon={copied ? <Check size={16} aria-hidden /> : <Copy size={16} aria-hidden />}
      onClick={() => void copy()}
      onBlur={() => setCopied(false)}
    />
  );
}

/** A line to paste into a terminal. */
export function CommandLine({ text, label }: { text: string; label: string }) {
  return (
    <div className="command-line">
      {/* Long lines scroll, and what scrolls must be reachable by keyboard. */}
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a scrolling region */}
      <section tabIndex={0} aria-label={label}>
        <pre>
          <code>{text}</code>
        </pre>
      </section>
      <CopyButton text={text} label={t("copy.command")} />
    </div>
  );
}
