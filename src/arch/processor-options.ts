/** Which processor a machine has, as far as the outside may choose. Each architecture knows its own names. */

/** What is not given is the architecture's default. */
export interface ProcessorOptions {
  /** Name of a CPU model of the architecture. */
  readonly cpuModel?: string;
  /** Levels of the page tables, where there is a choice. */
  readonly levels?: number;
  /** Name of a TLB profile: the sizes of the translation caches. */
  readonly tlbProfile?: string;
}
