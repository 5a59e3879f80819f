/** The frame of a page and its sections. */

import { Box, Flex, Heading, HStack, Link as ChakraLink, Text } from "@chakra-ui/react";
import { useDeferredValue, useId, type ReactNode } from "react";
import { Link, useLocation } from "react-router-dom";

import { page, pageOf, type PageName } from "../routes";

const TABS: readonly { name: PageName; label: string; holds: readonly PageName[] }[] = [
  { name: "", label: "Overview", holds: ["", "run", "task", "sweep"] },
  { name: "models", label: "Models", holds: ["models", "model", "canary"] },
  { name: "data", label: "Data", holds: ["data", "dataset", "snapshot"] },
];

interface Crumb {
  label: string;
  to: string;
}

interface Props {
  title: ReactNode;
  crumbs?: readonly Crumb[];
  /** A line below the title. */
  facts?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}

/** A page: where it is, what it is about, what can be done. */
export function Page({ title, crumbs = [], facts, actions, children }: Props) {
  return (
    <Box>
      {crumbs.length > 0 && (
        <HStack as="nav" aria-label="Breadcrumb" gap={1.5} fontSize="xs" color="fg.muted" mb={1} wrap="wrap">
          {crumbs.map((crumb, at) => (
            <HStack key={crumb.to} gap={1.5} minW={0}>
              {at > 0 && <Text as="span" aria-hidden>/</Text>}
              <To to={crumb.to}>{crumb.label}</To>
            </HStack>
          ))}
        </HStack>
      )}
      <Flex gap={4} align="flex-start" justify="space-between" wrap="wrap" mb={4}>
        <Box minW={0} flex="1 1 24rem">
          <Heading as="h1" fontSize="xl" lineHeight="1.3" fontWeight="semibold" overflowWrap="anywhere">
            {title}
          </Heading>
          {facts && (
            <Box fontSize="sm" color="fg.muted" mt={1}>
              {facts}
            </Box>
          )}
        </Box>
        {actions && <HStack gap={2}>{actions}</HStack>}
      </Flex>
      {children}
    </Box>
  );
}

/** The pages that stand in the navigation: what is open, and the three doors. */
export function Shell({ children }: { children: ReactNode }) {
  const here = pageOf(useLocation().pathname);
  return (
    <Box height="100%" overflowY="auto" bg="bg" overflowWrap="anywhere">
      <Box maxW="1480px" mx="auto" px={6} pt={3} pb={12}>
        <HStack as="nav" aria-label="Machine learning" gap={5} borderBottomWidth="1px" mb={5}>
          {TABS.map((tab) => {
            const open = tab.holds.includes(here);
            return (
              <ChakraLink
                key={tab.name}
                asChild
                fontSize="sm"
                pb={2}
                mb="-1px"
                borderBottomWidth="2px"
                borderColor={open ? "fg" : "transparent"}
                color={open ? "fg" : "fg.muted"}
                fontWeight={open ? "medium" : "normal"}
                borderRadius={0}
                _hover={{ color: "fg", textDecoration: "none" }}
              >
                <Link to={page(tab.name)} aria-current={tab.name === here ? "page" : undefined}>
                  {tab.label}
                </Link>
              </ChakraLink>
            );
          })}
        </HStack>
        {children}
      </Box>
    </Box>
  );
}

/** What stands further down: drawn once what is above it has been shown. */
export function Below({ children }: { children: ReactNode }) {
  const shown = useDeferredValue(true, false);
  return shown ? children : <Box role="status" aria-label="Loading" minH="50vh" />;
}

interface SectionProps {
  title: ReactNode;
  aside?: ReactNode;
  children: ReactNode;
}

/** A part of a page with its heading. */
export function Section({ title, aside, children }: SectionProps) {
  const id = useId();
  return (
    <Box as="section" aria-labelledby={id} borderWidth="1px" borderRadius="md" bg="bg.panel" mb={4} minW={0}>
      <Flex align="center" justify="space-between" gap={3} px={4} py={1.5} borderBottomWidth="1px" minH="38px" wrap="wrap">
        <Heading as="h2" id={id} fontSize="sm" lineHeight="1.4" fontWeight="semibold">
          {title}
        </Heading>
        {aside && (
          <HStack gap={3} fontSize="xs" color="fg.muted" wrap="wrap">
            {aside}
          </HStack>
        )}
      </Flex>
      <Box px={4} py={3} minW={0}>
        {children}
      </Box>
    </Box>
  );
}

/** A link within Airflow. */
export function To({ to, children, label }: { to: string; children: ReactNode; label?: string }) {
  return (
    <ChakraLink asChild color="fg.info" overflowWrap="anywhere" fontSize="inherit">
      <Link to={to} aria-label={label}>
        {children}
      </Link>
    </ChakraLink>
  );
}
