/**
 * vfork and exec: the child changes a variable in its parent's memory, then gets an address space of its own, whose stack
 * holds its arguments. The parent reads them in /proc/PID/cmdline, and the child finds them where a program finds argc.
 */
import { defineScenario } from 'tablewalk';

const PAGE = 4096;
const ARGUMENTS = ['cc', '-O2', '-c', 'memory.c'];

export default defineScenario({
  title: 'what a program was called with, seen from inside and outside',
  programs: {
    *shell(u, share) {
      const page = yield* u.must(u.mmap({ bytes: PAGE, prot: 'rw' }));
      const child = yield* u.must(
        u.vfork(function* (c) {
          yield* c.must(c.store(page, 1n));
          yield* c.must(
            c.execve({ program: compiler, path: '/usr/bin/cc', argv: ARGUMENTS, envp: ['LANG=C'] }),
          );
        }, 'child'),
      );
      // The child has let go of this memory, and left its mark.
      yield* u.check((yield* u.must(u.load(page))) === 1n, 'the child of vfork had memory of its own');
      yield* share.wait('compiles');
      const cmdline = yield* u.must(u.procCmdline(child, 100));
      share.set('over', true);
      yield* u.must(u.wait(child));
      return new TextDecoder().decode(cmdline).split('\0').slice(0, -1).join(' ');

      function* compiler(c: typeof u, shared: typeof share) {
        const stack = c.initialStackPointer;
        const argc = yield* c.must(c.load(stack));
        const first = yield* c.must(c.load(stack + 8n));
        shared.set('argc', argc);
        // "cc" and its zero byte.
        shared.set('argv[0]', yield* c.must(c.load(first, 2)));
        const old = yield* c.attempt(c.load(page));
        shared.set('old memory', old.ok);
        shared.set('compiles', true);
        yield* shared.wait('over');
      }
    },
  },
  finally: {
    'cmdline has the arguments': (world) => world.value('shell') === ARGUMENTS.join(' '),
    'argc counts them': (world) => world.share.get('argc') === 4n,
    'argv[0] is the first': (world) => world.share.get('argv[0]') === 0x6363n,
    'nothing of the old memory is left': (world) => world.share.get('old memory') === false,
  },
});
