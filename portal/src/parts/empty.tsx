// Where nothing is yet: why that is so, and how something gets there.
import { Body1, Subtitle1 } from "@fluentui/react-components";
import type { ReactNode } from "react";

export function Empty({ title, children, action }: { title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className="empty">
      <Subtitle1 as="h2" block>
        {title}
      </Subtitle1>
      {children && (
        <Body1 as="p" block>
          {children}
        </Body1>
      )}
      {action && <div className="actions">{action}</div>}
    </div>
  );
}
