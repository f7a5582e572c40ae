import { Fragment, memo, type JSX, type ReactNode } from "react";
import { lexer, type MarkedToken, type Token, type Tokens } from "marked";
import { safeLink } from "./safe-link.ts";
import styles from "./markdown.module.css";

/**
 * Markdown of an agent as React elements. The text is untrusted: it becomes elements by a closed list below and never
 * passes through an HTML parser. Raw HTML shows as the text that it is, images become links (loading them would
 * tell a stranger that somebody reads), links lead only to web and mail addresses.
 */
export const Markdown = memo(function Markdown({ text }: { text: string }) {
  let tokens: readonly Token[];
  try {
    tokens = lexer(text, { gfm: true });
  } catch {
    // Nested past the parser's depth: still readable as it is.
    return <pre className={styles["markdown"]}>{text}</pre>;
  }
  return <div className={styles["markdown"]}>{renderAll(tokens)}</div>;
});

const renderAll = (tokens: readonly Token[] | undefined): ReactNode =>
  // oxlint-disable-next-line react/no-array-index-key -- tokens have no identity, and the list is drawn anew as a whole
  tokens?.map((token, index) => <Fragment key={index}>{render(token)}</Fragment>);

const entities: Readonly<Record<string, string>> = {
  "&amp;": "&",
  "&lt;": "<",
  "&gt;": ">",
  "&quot;": '"',
  "&#39;": "'",
  "&nbsp;": "\u00A0",
};
const decode = (text: string) =>
  text.replaceAll(/&(?:amp|lt|gt|quot|#39|nbsp);/g, (entity) => entities[entity] ?? entity);

function render(anyToken: Token): ReactNode {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- no extension adds token types; unknown ones fall to the default
  const token = anyToken as MarkedToken;
  switch (token.type) {
    case "heading":
      return <Heading depth={token.depth}>{renderAll(token.tokens)}</Heading>;
    case "paragraph":
      return <p>{renderAll(token.tokens)}</p>;
    case "text":
      return token.tokens ? renderAll(token.tokens) : decode(token.text);
    case "escape":
      return token.text;
    case "strong":
      return <strong>{renderAll(token.tokens)}</strong>;
    case "em":
      return <em>{renderAll(token.tokens)}</em>;
    case "del":
      return <del>{renderAll(token.tokens)}</del>;
    case "codespan":
      return <code>{token.text}</code>;
    case "code":
      return <CodeBlock text={token.text} />;
    case "br":
      return <br />;
    case "hr":
      return <hr />;
    case "blockquote":
      return <blockquote>{renderAll(token.tokens)}</blockquote>;
    case "list":
      return <List token={token} />;
    case "table":
      return <Table token={token} />;
    case "link":
      return <SafeLink href={token.href}>{renderAll(token.tokens)}</SafeLink>;
    case "image":
      return <SafeLink href={token.href}>{token.text || token.href}</SafeLink>;
    case "space":
    case "def":
    case "checkbox":
      return null;
    default:
      return anyToken.raw;
  }
}

function CodeBlock({ text }: { text: string }) {
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a scrolling region must be reachable by keyboard
    <pre tabIndex={0}>
      <code>{text}</code>
    </pre>
  );
}

/** Headings of a document stand below those of the page. */
function Heading({ depth, children }: { depth: number; children: ReactNode }) {
  const Tag = `h${Math.min(6, depth + 2)}` as keyof Pick<JSX.IntrinsicElements, "h3">;
  return <Tag className={styles[`h${depth}`]}>{children}</Tag>;
}

function SafeLink({ href, children }: { href: string; children: ReactNode }) {
  const safe = safeLink(href);
  if (safe === undefined) return <span>{children}</span>;
  return (
    <a href={safe} target="_blank" rel="noopener noreferrer nofollow" title={safe}>
      {children}
    </a>
  );
}

function List({ token }: { token: Tokens.List }) {
  const items = token.items.map((item, index) => (
    // oxlint-disable-next-line react/no-array-index-key -- see renderAll
    <li key={index}>
      {item.task && <input type="checkbox" checked={item.checked ?? false} disabled readOnly />}
      {renderAll(item.tokens)}
    </li>
  ));
  if (!token.ordered) return <ul>{items}</ul>;
  return <ol start={token.start === "" ? 1 : token.start}>{items}</ol>;
}

function Table({ token }: { token: Tokens.Table }) {
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a scrolling region must be reachable by keyboard
    <div className={styles["scroll"]} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {token.header.map((cell, index) => (
              // oxlint-disable-next-line react/no-array-index-key -- see renderAll
              <th key={index}>{renderAll(cell.tokens)}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {token.rows.map((row, index) => (
            // oxlint-disable-next-line react/no-array-index-key -- see renderAll
            <tr key={index}>
              {row.map((cell, column) => (
                // oxlint-disable-next-line react/no-array-index-key -- see renderAll
                <td key={column}>{renderAll(cell.tokens)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
