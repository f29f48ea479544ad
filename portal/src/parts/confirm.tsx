// Before something is taken away: its consequences in plain words, and a word to be typed.
import {
  Button,
  Checkbox,
  Dialog,
  DialogActions,
  DialogBody,
  DialogContent,
  DialogSurface,
  DialogTitle,
  Field,
  Input,
} from "@fluentui/react-components";
import { type FormEvent, type ReactNode, useEffect, useState } from "react";
import { Trouble } from "./trouble";

interface Props {
  open: boolean;
  close: () => void;
  title: string;
  /** What will be so afterwards. */
  children: ReactNode;
  /** What is to be typed; none: it can be taken back, so a click is enough. */
  typed?: string;
  /** What else has to be said yes to. */
  agreed?: string;
  action: string;
  busy: boolean;
  error?: unknown;
  danger?: boolean;
  disabled?: boolean;
  act: () => void;
}

export function Confirm(props: Props) {
  const { open, close, title, children, typed, agreed, action, busy, error, danger, disabled, act } = props;
  const [text, setText] = useState("");
  const [agrees, setAgrees] = useState(false);
  useEffect(() => {
    if (open) {
      setText("");
      setAgrees(false);
    }
  }, [open]);
  const ready = (!typed || text.trim() === typed) && (!agreed || agrees) && !disabled;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (ready && !busy) act();
  };
  return (
    <Dialog open={open} onOpenChange={(_, data) => !data.open && close()}>
      <DialogSurface>
        <form onSubmit={submit}>
          <DialogBody>
            <DialogTitle>{title}</DialogTitle>
            <DialogContent className="stack">
              {children}
              {error != null && <Trouble error={error} />}
              {agreed && <Checkbox label={agreed} checked={agrees} onChange={(_, data) => setAgrees(data.checked === true)} />}
              {typed && (
                <Field label={<>Type <strong>{typed}</strong> to go on</>}>
                  <Input value={text} onChange={(_, data) => setText(data.value)} autoComplete="off" spellCheck={false} />
                </Field>
              )}
            </DialogContent>
            <DialogActions>
              <Button onClick={close} type="button">
                Leave it
              </Button>
              <Button appearance="primary" type="submit" disabled={!ready || busy} className={danger ? "danger" : undefined}>
                {busy ? "Working..." : action}
              </Button>
            </DialogActions>
          </DialogBody>
        </form>
      </DialogSurface>
    </Dialog>
  );
}
