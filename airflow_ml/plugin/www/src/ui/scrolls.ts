/**
 * A shade at the edge behind which there is more: the panel's own colour moves with what is scrolled and covers the shade
 * where that ends.
 */
export const SCROLLS = {
  backgroundImage: [
    "linear-gradient(to right, var(--chakra-colors-bg-panel) 40%, transparent)",
    "linear-gradient(to left, var(--chakra-colors-bg-panel) 40%, transparent)",
    "linear-gradient(to right, var(--chakra-colors-border-emphasized), transparent)",
    "linear-gradient(to left, var(--chakra-colors-border-emphasized), transparent)",
  ].join(", "),
  backgroundPosition: "left, right, left, right",
  backgroundSize: "32px 100%, 32px 100%, 12px 100%, 12px 100%",
  backgroundRepeat: "no-repeat",
  backgroundAttachment: "local, local, scroll, scroll",
} as const;
