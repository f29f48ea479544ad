// Steps one after the other: each can be gone back to, none can be gone past while something is missing.
import { Button } from "@fluentui/react-components";
import { CheckmarkCircle20Filled } from "../icons";
import { type ReactNode, useEffect, useRef } from "react";

export interface Step {
  name: string;
  body: ReactNode;
  /** Why it cannot go on. */
  fault?: string;
  /** What going on is called, and does, if it is not just the next step. */
  next?: { name: string; act: () => void; busy?: boolean };
}

interface Props {
  steps: Step[];
  step: number;
  setStep: (step: number) => void;
  leave: () => void;
}

export function Wizard({ steps, step, setStep, leave }: Props) {
  const body = useRef<HTMLDivElement>(null);
  const shown = useRef(step);
  useEffect(() => {
    if (shown.current !== step) body.current?.focus({ preventScroll: true });
    shown.current = step;
  }, [step]);
  const now = steps[step];
  if (!now) return null;
  const go = now.next ?? { name: "Next", act: () => setStep(step + 1), busy: false };
  return (
    <div className="wizard">
      <ol className="wizard-steps" aria-label="Steps">
        {steps.map((one, index) => (
          <li key={one.name} aria-current={index === step ? "step" : undefined} className={index < step ? "done" : undefined}>
            <button type="button" disabled={index >= step} onClick={() => setStep(index)}>
              {index < step ? <CheckmarkCircle20Filled aria-hidden /> : <span className="wizard-number">{index + 1}</span>}
              {one.name}
            </button>
          </li>
        ))}
      </ol>
      <div className="wizard-body stack" tabIndex={-1} ref={body} role="group" aria-label={now.name}>
        {now.body}
      </div>
      <div className="wizard-foot">
        <Button onClick={leave} appearance="subtle">
          Leave
        </Button>
        <div className="grow" />
        {now.fault && (
          <span className="faint" role="status">
            {now.fault}
          </span>
        )}
        {step > 0 && <Button onClick={() => setStep(step - 1)}>Back</Button>}
        <Button appearance="primary" disabled={now.fault !== undefined || go.busy} onClick={go.act}>
          {go.name}
        </Button>
      </div>
    </div>
  );
}
