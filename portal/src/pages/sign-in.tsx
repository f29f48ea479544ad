// Who is there: by password, or at the provider of single sign-on.
import { Button, Checkbox, Divider, Field, Input, Spinner, Title3 } from "@fluentui/react-components";
import { useMutation, useQuery } from "@tanstack/react-query";
import { type FormEvent, useEffect, useRef, useState } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { client, take } from "../api/client";
import { queries, version } from "../api/queries";
import { signedIn } from "../api/session";
import { beginSignIn, finishSignIn } from "../api/sign-on";
import mark from "../mark.svg";
import { Trouble } from "../parts/trouble";

export default function SignIn() {
  const [search] = useSearchParams();
  const navigate = useNavigate();
  const [stays, setStays] = useState(false);
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const program = useQuery(version);
  useEffect(() => {
    document.title = "Sign in - Strongroom";
  }, []);

  const enter = (token: string, keeps: boolean, to: string) => {
    queries.clear();
    signedIn(token, keeps);
    void navigate(local(to), { replace: true });
  };
  const signIn = useMutation({
    mutationFn: () => take(client.POST("/v1/login", { body: { name, password } })),
    onSuccess: (session) => enter(session.token, stays, search.get("to") ?? "/"),
  });
  const begin = useMutation({ mutationFn: () => beginSignIn({ stays, to: search.get("to") ?? "/" }) });
  const finish = useMutation({
    mutationFn: () => finishSignIn(search),
    onSuccess: ({ token, stays: keeps, to }) => enter(token, keeps, to),
  });
  // A code is good once: React may run this twice, the provider may not.
  const came = useRef(false);
  // Whoever was turned away there may come back without a state: not all providers give it with an error.
  const isBack = search.has("state") || search.has("error");
  useEffect(() => {
    if (!isBack || came.current) return;
    came.current = true;
    finish.mutate();
  }, [isBack, finish]);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    signIn.mutate();
  };
  const trouble = signIn.error ?? begin.error ?? finish.error;
  return (
    <main className="sign-in">
      <div className="sign-in-card">
        <img src={mark} alt="" width="44" height="44" />
        <Title3 as="h1">Sign in to Strongroom</Title3>
        {finish.isPending ? (
          <Spinner label="Coming back from your provider" />
        ) : (
          <form onSubmit={submit} className="stack">
            {trouble && <Trouble error={trouble} />}
            <Field label="Name" required>
              <Input
                value={name}
                onChange={(_, data) => setName(data.value)}
                autoComplete="username"
                autoCapitalize="none"
                spellCheck={false}
                autoFocus
              />
            </Field>
            <Field label="Password" required>
              <Input
                type="password"
                value={password}
                onChange={(_, data) => setPassword(data.value)}
                autoComplete="current-password"
              />
            </Field>
            <Checkbox
              label="Stay signed in on this device for 12 hours"
              checked={stays}
              onChange={(_, data) => setStays(data.checked === true)}
            />
            <Button appearance="primary" size="large" type="submit" disabled={!name || !password || signIn.isPending}>
              {signIn.isPending ? "Signing in..." : "Sign in"}
            </Button>
            {program.data?.single_sign_on && (
              <>
                <Divider>or</Divider>
                <Button size="large" onClick={() => begin.mutate()} disabled={begin.isPending}>
                  Single sign-on
                </Button>
              </>
            )}
            <p className="faint">
              The first password was shown by <code>strongroom server init</code>. If it is lost,{" "}
              <code>strongroom server reset-password</code> on the server&apos;s host makes another.
            </p>
          </form>
        )}
      </div>
    </main>
  );
}

/** Only an address of this portal: nobody is sent elsewhere by a link that begins here. */
function local(to: string): string {
  return to.startsWith("/") && !to.startsWith("//") && !to.startsWith("/\\") ? to : "/";
}
