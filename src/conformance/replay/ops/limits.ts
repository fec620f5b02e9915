/** setrlimit: only the soft limit is in the traces; the hard one stays. */
import { type Resource, sysSetrlimit } from '../../../kernel/mm/rlimit.ts';
import { Unsupported } from '../../../kernel/unsupported.ts';
import { type Operation, retOrErrno } from './operation.ts';

const RESOURCES: Readonly<Record<string, Resource>> = {
  as: 'addressSpace',
  data: 'data',
  stack: 'stack',
  memlock: 'memlock',
};

export const limitOperations: Readonly<Record<string, Operation>> = {
  setrlimit: {
    arguments: ['res', 'cur'],
    run: (world, step) => {
      const task = world.actor(step.pid);
      const name = step.args.text('res');
      const resource = RESOURCES[name];
      if (resource === undefined) throw new Unsupported(`setrlimit of ${name}`);
      const soft = Number(step.args.word('cur'));
      return retOrErrno(sysSetrlimit(task, resource, { soft, hard: task.rlimits[resource].hard }));
    },
  },
};
