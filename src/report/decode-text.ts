/** A decoded word as text: title, one line a field, remarks, source. */
import type { Decoded } from '../arch/decode-kind.ts';
import { fieldLine } from './walk-text.ts';

/** Lines without a final newline. */
export function decodeText(decoded: Decoded): string {
  const bits = Math.max(...decoded.fields.map(({ high }) => high)) + 1;
  const digits = bits / 4;
  return [
    `${decoded.title} = 0x${decoded.value.toString(16).padStart(digits, '0')}`,
    ...decoded.fields.map((field) => fieldLine(field, '  ')),
    ...decoded.remarks.map((remark) => `* ${remark}`),
    `source: ${decoded.source}`,
  ].join('\n');
}
