/**
 * Runs several command lines one after another in a process of their own, in the folder it was started in, and prints
 * their results as JSON. Starting a process costs more than most commands.
 */
import { runCommand } from './command.ts';

const lines = JSON.parse(process.argv[2] as string) as readonly (readonly string[])[];
const results = [];
for (const args of lines) results.push(await runCommand(args));
process.stdout.write(JSON.stringify(results));
