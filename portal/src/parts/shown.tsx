// Something that is shown once, to be copied and kept.
import { Button } from "@fluentui/react-components";
import { CheckmarkRegular, CopyRegular } from "../icons";
import { useState } from "react";

export function Shown({ title, text, note }: { title: string; text: string; note?: string }) {
  const [copied, setCopied] = useState(false);
  const copy = () => void navigator.clipboard.writeText(text).then(() => setCopied(true));
  return (
    <div className="shown">
      <p className="strong">{title}</p>
      <div className="shown-text">
        <pre tabIndex={0} aria-label={title}>{text}</pre>
        <Button size="small" icon={copied ? <CheckmarkRegular /> : <CopyRegular />} onClick={copy}>
          {copied ? "Copied" : "Copy"}
        </Button>
      </div>
      {note && <p className="faint">{note}</p>}
    </div>
  );
}
