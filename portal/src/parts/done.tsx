// Acts: while one is under way its button waits, what came of it is told, and what it changed is asked again.
import { Link as FluentLink, Toast, ToastBody, ToastTitle, ToastTrigger, useToastController } from "@fluentui/react-components";
import { useMutation } from "@tanstack/react-query";
import { useCallback } from "react";
import { useNavigate } from "react-router";
import { problemOf } from "../api/client";
import { refresh } from "../api/queries";

export const TOASTER = "done";
const TOLD_MS = 6_000;

export interface Told {
  title: string;
  body?: string;
  /** Where to see more. */
  to?: string;
  intent?: "success" | "error" | "info" | "warning";
}

export function useTell(): (told: Told) => void {
  const { dispatchToast } = useToastController(TOASTER);
  const navigate = useNavigate();
  return useCallback(
    ({ title, body, to, intent = "success" }: Told) => {
      const more = to && (
        <ToastTrigger>
          <FluentLink onClick={() => void navigate(to)}>Show</FluentLink>
        </ToastTrigger>
      );
      const toast = (
        <Toast>
          <ToastTitle action={more || undefined}>{title}</ToastTitle>
          {body && <ToastBody>{body}</ToastBody>}
        </Toast>
      );
      // What failed stays until somebody has read it.
      dispatchToast(toast, { intent, timeout: intent === "error" ? -1 : TOLD_MS });
    },
    [dispatchToast, navigate],
  );
}

interface Act<T, A> {
  does: (argument: A) => Promise<T>;
  /** What is told when it is done. */
  told?: (result: T, argument: A) => Told | undefined;
  /** Keys of what it changed. */
  changes?: string[];
  /** Errors are shown in place by whoever asks, not told. */
  quiet?: boolean;
  then?: (result: T, argument: A) => void;
}

export function useAct<T, A = void>({ does, told, changes = [], quiet, then }: Act<T, A>) {
  const tell = useTell();
  return useMutation<T, Error, A>({
    mutationFn: does,
    onSuccess: (result, argument) => {
      refresh(...changes);
      const what = told?.(result, argument);
      if (what) tell(what);
      then?.(result, argument);
    },
    onError: (error) => {
      if (quiet) return;
      const { title, detail, hint } = problemOf(error);
      tell({ title, body: hint ? `${detail} ${hint}` : detail, intent: "error" });
    },
  });
}
