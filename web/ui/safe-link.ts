const allowed = new Set(["http:", "https:", "mailto:"]);

/** The address when it is one that a stranger's text may lead to: web or mail, absolute, without credentials. */
export function safeLink(href: string): string | undefined {
  if (!URL.canParse(href)) return undefined;
  const url = new URL(href);
  if (!allowed.has(url.protocol) || url.username !== "" || url.password !== "") return undefined;
  return url.href;
}
