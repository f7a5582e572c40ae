import { useId, useState } from "react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { CircleQuestionMark } from "lucide-react";
import { call } from "../../../../api/api.ts";
import { taskKeys } from "../../../../api/queries.ts";
import { t } from "../../../../messages/translate.ts";
import { Button } from "../../../../ui/button.tsx";
import { ProblemNotice } from "../../../../ui/problem.tsx";
import styles from "./answer-box.module.css";

/** The agent has asked something and rests, at no cost, until somebody answers. */
export function AnswerBox({
  taskId,
  questionId,
  question,
}: {
  taskId: string;
  questionId: string;
  question: string;
}) {
  const id = useId();
  const queries = useQueryClient();
  const [answer, setAnswer] = useState("");
  const send = useMutation({
    mutationFn: () => call((client) => client.questions.answer(questionId, answer.trim())),
    onSuccess: () => queries.invalidateQueries({ queryKey: taskKeys.detail(taskId) }),
  });
  return (
    <form
      className={styles["box"]}
      onSubmit={(event) => {
        event.preventDefault();
        if (answer.trim() !== "" && !send.isPending) send.mutate();
      }}
    >
      <h2 className={styles["title"]}>
        <CircleQuestionMark size={20} aria-hidden />
        {t("answer.title")}
      </h2>
      <p id={`${id}-question`} className={styles["question"]}>
        {question}
      </p>
      <div className="field">
        <label htmlFor={id}>{t("answer.label")}</label>
        <textarea
          id={id}
          rows={3}
          maxLength={20_000}
          aria-describedby={`${id}-question`}
          value={answer}
          onChange={(event) => setAnswer(event.target.value)}
          disabled={send.isSuccess}
        />
      </div>
      {send.isError && <ProblemNotice error={send.error} />}
      <Button
        type="submit"
        look="primary"
        disabled={send.isPending || send.isSuccess || answer.trim() === ""}
      >
        {send.isSuccess ? t("answer.sent") : t("answer.send")}
      </Button>
    </form>
  );
}
