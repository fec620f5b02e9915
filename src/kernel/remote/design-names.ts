/**
 * The names of the designs, for options and settings: without the designs themselves, which whoever only reads an
 * option need not load. `designs/registry.ts` has one for each.
 */

export const DESIGN_NAMES = ['v0', 'v1', 'v2', 'v3', 'v4', 'v5', 'v6', 'n1', 'n2', 'n3', 'n4'] as const;
export type DesignName = (typeof DESIGN_NAMES)[number];
