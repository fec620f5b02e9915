import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/base/input-error.ts';

describe('InputError', () => {
  it.each([
    [{}, 'bad thing'],
    [{ file: 'a.yaml' }, 'a.yaml: bad thing'],
    [{ file: 'a.yaml', line: 3 }, 'a.yaml:3: bad thing'],
    [{ file: 'a.yaml', line: 3, column: 7 }, 'a.yaml:3:7: bad thing'],
    [{ column: 7 }, 'at column 7: bad thing'],
    [{ line: 2, column: 7 }, 'at 2:7: bad thing'],
    [{ expected: 'a number' }, 'bad thing: expected a number'],
    [{ expected: 'a number', found: 'x' }, 'bad thing: expected a number, found x'],
    [{ file: 'f', found: 'x' }, 'f: bad thing: found x'],
  ])('with %o reads "%s"', (details, message) => {
    expect(new InputError('bad thing', details).message).toBe(message);
  });

  it('can be placed later; what is known of the place stays', () => {
    const error = new InputError('bad thing', { line: 4, column: 2 }).at({ file: 'x.json', line: 1 });
    expect(error.message).toBe('x.json:4:2: bad thing');
    expect([error.file, error.line, error.column]).toEqual(['x.json', 4, 2]);
  });

  it('is told by its name', () => {
    expect(new InputError('bad thing').name).toBe('InputError');
  });
});
