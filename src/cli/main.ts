#!/usr/bin/env node
/** The `tablewalk` command: parses the arguments, runs one command, turns bad input into one line and exit status 2. */
import { runCommandLine } from './run-command-line.ts';

process.exitCode = await runCommandLine(process.argv.slice(2));
