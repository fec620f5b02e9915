/**
 * The same mistake as in missing-invlpg.ts, on arm64: munmap takes a page away without the broadcast TLBI. The first
 * process reads what the frame's next owner has written, through a translation that still has its ASID; the check names
 * the TLBI that is missing.
 */
import { defineScenario } from 'tablewalk';
import missingInvlpg from './missing-invlpg.ts';

export default defineScenario({ ...missingInvlpg, title: 'munmap without TLBI', arch: 'arm64' });
