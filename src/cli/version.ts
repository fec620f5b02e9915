/** Kept equal to package.json by a test, so that no file has to be found and read at run time. */
export const version = '0.1.0';
