/** The one way from a string of the data to an address that can be clicked. */

/**
 * Return an absolute http(s) address as it is, and undefined for everything else: other schemes, addresses with a user
 * in them, control characters, spaces and letters that look like others (international names come as `xn--`).
 */
export function safeUrl(address: string | null | undefined): string | undefined {
  if (!address || !/^[\x21-\x5b\x5d-\x7e]+$/.test(address) || !/^https?:\/\//i.test(address)) {
    return undefined;
  }
  let parsed: URL;
  try {
    parsed = new URL(address);
  } catch {
    return undefined;
  }
  return parsed.hostname && !parsed.username && !parsed.password ? address : undefined;
}
