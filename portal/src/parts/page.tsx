// A page: what it is called, what can be done on it, and what it shows.
import { Breadcrumb, BreadcrumbDivider, BreadcrumbItem, Spinner, Text, Title2 } from "@fluentui/react-components";
import type { UseQueryResult } from "@tanstack/react-query";
import { Fragment, type ReactNode, useEffect } from "react";
import { Link } from "react-router";
import { Trouble } from "./trouble";

interface PageProps {
  title: string;
  /** What stands above it: name and address of each page. */
  above?: [string, string][];
  beside?: ReactNode;
  about?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}

export function Page({ title, above, beside, about, actions, children }: PageProps) {
  useEffect(() => {
    document.title = `${title} - Strongroom`;
  }, [title]);
  return (
    <div className="page">
      {above && (
        <Breadcrumb aria-label="Above this page" size="small">
          {above.map(([name, to], index) => (
            <Fragment key={to}>
              {index > 0 && <BreadcrumbDivider />}
              <BreadcrumbItem>
                <Link className="link" to={to}>
                  {name}
                </Link>
              </BreadcrumbItem>
            </Fragment>
          ))}
        </Breadcrumb>
      )}
      <div className="page-head">
        <div className="page-title">
          <Title2 as="h1">{title}</Title2>
          {beside}
        </div>
        {actions && <div className="actions">{actions}</div>}
      </div>
      {about && (
        <Text as="p" className="about-page">
          {about}
        </Text>
      )}
      {children}
    </div>
  );
}

interface LoadedProps<T> {
  query: Pick<UseQueryResult<T>, "data" | "error"> & { refetch: () => unknown };
  what: string;
  children: (data: T) => ReactNode;
}

/** What a query gave, or that it is under way, or why it failed. What is known stays shown beside an error. */
export function Loaded<T>({ query, what, children }: LoadedProps<T>) {
  return (
    <>
      {query.error && <Trouble error={query.error} again={() => void query.refetch()} />}
      {query.data !== undefined ? children(query.data) : !query.error && <Spinner className="loading" label={`Loading ${what}`} />}
    </>
  );
}

interface SectionProps {
  title: string;
  actions?: ReactNode;
  children: ReactNode;
  className?: string;
}

export function Section({ title, actions, children, className }: SectionProps) {
  return (
    <section className={`section ${className ?? ""}`} aria-label={title}>
      <div className="section-head">
        <h2>{title}</h2>
        {actions}
      </div>
      {children}
    </section>
  );
}
