/** The museum on x86-64: every exhibit's bug is found by the search that is the default, and only with the bug. */
import { testExhibits } from '../support/exhibit-tests.ts';

testExhibits('x86_64');
