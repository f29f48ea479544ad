// An address without a page.
import { Link } from "react-router";
import { Empty } from "../parts/empty";
import { Page } from "../parts/page";

export default function Nowhere() {
  return (
    <Page title="There is no such page">
      <Empty title="Nothing is at this address" action={<Link className="link" to="/">Go to the overview</Link>}>
        It may be mistyped, or what it was about is gone.
      </Empty>
    </Page>
  );
}
