import type { ReactNode } from "react";

/** An amount to type, and below it what follows from it, or what is wrong with it. */
export function AmountField(props: {
  label: string;
  value: string;
  isFine: boolean;
  /** Id of the line below. */
  consequenceId: string;
  consequence: ReactNode;
  onChange: (value: string) => void;
}) {
  const { label, value, isFine, consequenceId, consequence, onChange } = props;
  return (
    <>
      <label className="field">
        <span>{label}</span>
        <input
          inputMode="decimal"
          autoComplete="off"
          data-first-focus
          className="money"
          value={value}
          aria-invalid={!isFine}
          aria-describedby={consequenceId}
          onChange={(event) => onChange(event.target.value)}
        />
      </label>
      <p id={consequenceId} className={isFine ? "dim" : "field-problem"} aria-live="polite">
        {consequence}
      </p>
    </>
  );
}
