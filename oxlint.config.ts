import { defineConfig, type OxlintConfig } from "oxlint";
import { ranks } from "./server/ranks.ts";

/** The rank rule: what a slice must not import, as relative paths. */
const rankRules: NonNullable<OxlintConfig["overrides"]> = ranks.map((slice, rank) => ({
  files: [`server/${slice}/**/*.ts`],
  excludeFiles: ["**/*.test.ts", "**/*fixture.ts"],
  rules: {
    "no-restricted-imports": [
      "error",
      {
        patterns: [
          {
            group: ranks.slice(rank + 1).map((higher) => `**/${higher}/**`),
            message: `${slice} may import only lower ranks (server/ranks.ts).`,
          },
        ],
      },
    ],
  },
}));

export default defineConfig({
  plugins: ["typescript", "unicorn", "oxc", "import", "vitest"],
  options: { typeAware: true },
  categories: { correctness: "error", suspicious: "error" },
  ignorePatterns: ["**/node_modules/**", "**/dist/**", "**/generated/**"],
  rules: {
    "typescript/no-explicit-any": "error",
    "typescript/no-non-null-assertion": "error",
    "typescript/no-misused-promises": "error",
    "typescript/consistent-type-imports": "error",
    "node/no-process-env": "off",
    "oxc/no-barrel-file": ["error", { threshold: 0 }],
    "max-lines": ["error", { max: 500, skipBlankLines: true, skipComments: true }],
    "max-lines-per-function": ["error", { max: 80, skipBlankLines: true, skipComments: true }],
    // Shadowing a common short name in a nested callback reads well enough; the type checker catches the mix-ups.
    "no-shadow": "off",
    "no-await-in-loop": "off",
    "unicorn/consistent-function-scoping": "off",
    "import/no-unassigned-import": "off",
    "vitest/require-mock-type-parameters": "off",
    // Properties assert inside fc.assert callbacks and shared checkers, which these rules cannot see.
    "vitest/no-standalone-expect": "off",
    "vitest/expect-expect": "off",
    "vitest/no-conditional-expect": "off",
    "vitest/valid-title": "off",
    // A message beside the value names the case in a loop.
    "vitest/valid-expect": "off",
    "vitest/require-to-throw-message": "off",
    "import/no-named-as-default-member": "off",
    // Our objects are records of closures; none of their functions has a this.
    "typescript/unbound-method": "off",
    // Rows and answers are held to their shape by the schema and its tests, not by parsing each again.
    "typescript/no-unsafe-type-assertion": "off",
    // The compiler checks the same (noImplicitReturns), and knows about never.
    "typescript/consistent-return": "off",
  },
  overrides: [
    {
      files: [
        "**/*.test.ts",
        "**/*.test.tsx",
        "**/*fixture.ts",
        "server/test/**",
        "server/gateway/test/**",
        "bench/**",
        "faults/**",
      ],
      rules: {
        "typescript/no-non-null-assertion": "off",
        "max-lines-per-function": "off",
      },
    },
    {
      files: ["web/**/*.tsx"],
      plugins: ["react", "jsx-a11y"],
      rules: {
        "react/react-in-jsx-scope": "off",
        // Markup is long without being deep; components stay below 200 lines.
        "max-lines-per-function": ["error", { max: 200, skipBlankLines: true, skipComments: true }],
        // Virtualised tables cannot be made of table elements, and a section needs its name said either way.
        "jsx-a11y/prefer-tag-over-role": "off",
        // Scrollable regions must be reachable by keyboard.
        "jsx-a11y/no-noninteractive-tabindex": "off",
        "react/incompatible-library": "off",
      },
    },
    ...rankRules,
  ],
});
