/** Names as a user writes them: exact, or with * for any characters. No patterns at all want every name. */
export function namePattern(patterns: readonly string[]): (name: string) => boolean {
  if (patterns.length === 0) return () => true;
  const escaped = patterns.map((text) => text.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*'));
  const pattern = new RegExp(`^(?:${escaped.join('|')})$`);
  return (name) => pattern.test(name);
}
