// What went wrong, why, and what to do.
import { Button, MessageBar, MessageBarActions, MessageBarBody, MessageBarTitle } from "@fluentui/react-components";
import { problemOf } from "../api/client";

export function Trouble({ error, again }: { error: unknown; again?: () => void }) {
  const problem = problemOf(error);
  return (
    <MessageBar intent="error" layout="multiline" className="trouble" role="alert">
      <MessageBarBody>
        <MessageBarTitle>{problem.title}</MessageBarTitle>
        <p>{problem.detail}</p>
        {problem.violations && problem.violations.length > 0 && (
          <ul>
            {problem.violations.map((one) => (
              <li key={one.pointer + one.rule}>
                <code>{one.pointer}</code> {one.rule}
              </li>
            ))}
          </ul>
        )}
        {problem.hint && (
          <p>
            <strong>What to do:</strong> {problem.hint}
          </p>
        )}
        {problem.request_id && <p className="faint">In the server&apos;s log: {problem.request_id}</p>}
      </MessageBarBody>
      {again && (
        <MessageBarActions>
          <Button onClick={again}>Try again</Button>
        </MessageBarActions>
      )}
    </MessageBar>
  );
}
