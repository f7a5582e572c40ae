import { en } from "./en.ts";

type Catalogue = typeof en;
export type MessageKey = keyof Catalogue;

/** The names in braces of a message. */
type Names<Text> = Text extends `${string}{${infer Name}}${infer Rest}`
  ? Name | Names<Rest>
  : never;
type TextOf<M> = M extends { other: string } ? M[keyof M] : M;
type ParamsOf<M> =
  | Names<TextOf<M>>
  // A plural is chosen by `count`, also when its text does not show it.
  | (M extends { other: string } ? "count" : never);
type Args<M> = [ParamsOf<M>] extends [never]
  ? []
  : [params: { readonly [Name in ParamsOf<M>]: string | number }];

const plurals = new Intl.PluralRules("en");

/**
 * The text of a message with its `{names}` filled in. A message with forms (`one`, `other`) is chosen by `count`.
 * The compiler asks for exactly the names that the message has.
 */
export function t<Key extends MessageKey>(key: Key, ...args: Args<Catalogue[Key]>): string {
  const params: Readonly<Record<string, string | number>> = args[0] ?? {};
  const message: string | { one: string; other: string } = en[key];
  const text =
    typeof message === "string"
      ? message
      : plurals.select(Number(params["count"])) === "one"
        ? message.one
        : message.other;
  return text.replaceAll(/\{(\w+)\}/g, (whole, name: string) => String(params[name] ?? whole));
}
