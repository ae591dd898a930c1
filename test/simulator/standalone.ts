/** The command as a process of its own, for the tests that start and stop one. */
import { createProgram } from '../../src/cli/main.ts';
import { registerSimulate } from '../../src/cli/simulate.ts';

const program = createProgram();
// Already there once the command line registers its commands.
if (!program.commands.some((command) => command.name() === 'simulate')) registerSimulate(program);
await program.parseAsync(process.argv);
