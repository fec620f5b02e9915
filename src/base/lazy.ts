/** Constants that only some programs look at: made when they are first asked for, not when the package is imported. */

/** @param make pure: when it runs must not matter */
export function lazy<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
