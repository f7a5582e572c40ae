import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { ConnectionError, GuildhallError } from "@guildhall/sdk/client/errors.ts";
import "./styles/fonts.css";
import "./styles/tokens.css";
import "./styles/base.css";
import { session } from "./api/api.ts";
import { isSignedOut } from "./api/session.ts";
import { setConnection, useConnection } from "./realtime/connection.ts";
import { createPageRouter } from "./router.tsx";
import { applyTheme, usePreferences } from "./ui/preferences.ts";

applyTheme(usePreferences.getState().theme);

function noteError(error: unknown): void {
  if (error instanceof ConnectionError) setConnection("offline");
  if (!isSignedOut(error)) return;
  void router.navigate({ to: "/sign-in", search: { next: router.state.location.href } });
}

const queries = new QueryClient({
  queryCache: new QueryCache({
    onError: noteError,
    onSuccess: () => {
      if (useConnection.getState().state === "offline") setConnection("polling");
    },
  }),
  mutationCache: new MutationCache({ onError: noteError }),
  defaultOptions: {
    queries: {
      staleTime: 1_000,
      // Without a socket nobody tells the page of changes.
      refetchInterval: () => (useConnection.getState().state === "live" ? 30_000 : 3_000),
      // The client repeats what may be repeated; an answer of the server will not change.
      retry: (count, error) => !(error instanceof GuildhallError) && count < 2,
    },
  },
});
const router = createPageRouter(queries);

/** Trades a one-time link for a session. The secret leaves the address bar before anything else happens. */
async function signInByLink(): Promise<void> {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return;
  history.replaceState(null, "", location.pathname + location.search);
  try {
    await session.exchange(token);
  } catch (error) {
    // A link is good once. Whoever is signed in already does not need it.
    const open = await session.open().catch(() => undefined);
    if (open !== undefined) return;
    const problem = error instanceof GuildhallError ? error.code : "offline";
    history.replaceState(null, "", `/sign-in?problem=${encodeURIComponent(problem)}`);
  }
}

await signInByLink();

const page = document.getElementById("page");
if (page !== null) {
  createRoot(page).render(
    <StrictMode>
      <QueryClientProvider client={queries}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </StrictMode>,
  );
}
