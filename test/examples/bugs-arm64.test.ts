/** The museum on arm64: as on x86-64, beside it. */
import { testExhibits } from '../support/exhibit-tests.ts';

testExhibits('arm64');
