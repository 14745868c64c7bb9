import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { ApiError, whenSignedOut } from "../api/client";
import { session } from "../api/queries";
import { router } from "./router";
import { SignedIn } from "./session";
import { theme, variables } from "./theme";

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2_000,
      // A restart of the platform takes seconds: what may succeed later is asked for again, what is refused is not.
      retry: (failures, error) => error instanceof ApiError && error.problem.retryable && failures < 8,
      retryDelay: (failures) => Math.min(4_000, 400 * 2 ** failures),
    },
  },
});

whenSignedOut(() => void queries.invalidateQueries(session));

export function App() {
  return (
    <MantineProvider theme={theme} cssVariablesResolver={variables} defaultColorScheme="auto">
      <Notifications position="bottom-right" />
      <QueryClientProvider client={queries}>
        <SignedIn>
          <RouterProvider router={router} />
        </SignedIn>
      </QueryClientProvider>
    </MantineProvider>
  );
}
