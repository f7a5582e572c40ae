import { useQueryErrorResetBoundary } from "@tanstack/react-query";
import { useRouter, type ErrorComponentProps } from "@tanstack/react-router";
import { t } from "../messages/translate.ts";
import { Button } from "../ui/button.tsx";
import { ProblemNotice } from "../ui/problem.tsx";

/** What a page shows in its place when it cannot be drawn. */
export function RouteProblem({ error }: ErrorComponentProps) {
  const router = useRouter();
  const { reset } = useQueryErrorResetBoundary();
  return (
    <ProblemNotice
      error={error}
      action={
        <Button
          onClick={() => {
            reset();
            void router.invalidate();
          }}
        >
          {t("tryAgain")}
        </Button>
      }
    />
  );
}
