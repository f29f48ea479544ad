// A page that breaks takes no other with it.
import { Button } from "@fluentui/react-components";
import { Component, type ReactNode } from "react";
import { Empty } from "./empty";

export class Defect extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    const { error } = this.state;
    if (!error) return this.props.children;
    return (
      <Empty title="This page has a defect" action={<Button onClick={() => window.location.reload()}>Load it again</Button>}>
        {error.message}. The other pages work, and so does the command line. If the server was just updated, loading the
        page again is enough.
      </Empty>
    );
  }
}
