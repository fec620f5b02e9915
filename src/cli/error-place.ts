/** Where in a file an error was thrown, read off its stack or its message. */

export interface ErrorPlace {
  readonly message: string;
  readonly line?: number;
  readonly column?: number;
}

/** The first place in `file` that the error names; the message alone when there is none. */
export function errorPlace(error: unknown, file: string): ErrorPlace {
  if (!(error instanceof Error)) return { message: String(error) };
  const name = file.split('/').at(-1) as string;
  const escaped = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const place = new RegExp(`${escaped}(?:\\?[^:)\\s]*)?:(\\d+)(?::(\\d+))?`).exec(
    `${error.stack ?? ''}\n${error.message}`,
  );
  const message = firstTellingLine(error.message);
  if (place === null) return { message };
  const line = Number(place[1]);
  return place[2] === undefined ? { message, line } : { message, line, column: Number(place[2]) };
}

/** A transformer's message begins with lines about itself; the one that says `ERROR:` tells what is wrong. */
function firstTellingLine(message: string): string {
  const lines = message.split('\n').map((line) => line.trim());
  const telling =
    lines.find((line) => line.includes('ERROR:')) ?? lines.find((line) => line !== '') ?? 'no message';
  return telling.replace(/^.*ERROR: /, '');
}
