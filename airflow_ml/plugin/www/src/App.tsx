/** The pages in the navigation, by their address. */

import { QueryClientProvider } from "@tanstack/react-query";
import { Box } from "@chakra-ui/react";
import { Component, type ReactNode } from "react";
import { useLocation, useSearchParams } from "react-router-dom";

import { client } from "./api/queries";
import { Canary } from "./pages/Canary";
import { Models } from "./pages/Models";
import { Overview } from "./pages/Overview";
import { pageOf, type PageName } from "./routes";
import { Shell } from "./ui/layout";
import { Failed } from "./ui/state";

export function App() {
  const { pathname } = useLocation();
  return (
    <QueryClientProvider client={client}>
      <Guard key={pathname}><Navigated /></Guard>
    </QueryClientProvider>
  );
}

function Navigated() {
  const { pathname } = useLocation();
  return <Shell>{<Named name={pageOf(pathname)} />}</Shell>;
}

function Named({ name }: { name: PageName }) {
  const [query] = useSearchParams();
  const asked = (key: string) => query.get(key) ?? "";
  switch (name) {
    case "models":
      return <Models />;
    case "canary":
      return <Canary model={asked("model")} epoch={query.get("epoch")} />;
    default:
      return <Overview />;
  }
}

/** An error in a page stays in the page, and says what it was. */
class Guard extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    const { error } = this.state;
    return error ? (
      <Box p={6}>
        <Failed error={new Error(`This page could not be drawn: ${error.message}`)} />
      </Box>
    ) : (
      this.props.children
    );
  }
}
