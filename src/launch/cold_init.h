// The little program that stands before a cold run of an environment with an init file: it executes
// the init file in
// __main__ and then the program in the same namespace, as a worker would. An init file that raises
// shows its traceback, and the program runs all the same.
#pragma once

namespace brood {

inline constexpr char kColdInit[] = R"py(
import sys
def _brood_start():
    import os, runpy, traceback, builtins
    main = sys.modules['__main__'].__dict__
    directory, init, kind, program = sys.argv[1:5]
    arguments = sys.argv[5:]
    del main['_brood_start']
    if not getattr(sys.flags, 'safe_path', sys.flags.isolated):
        del sys.path[0]
    if hasattr(sys, 'orig_argv'):
        at = sys.orig_argv.index('-c')
        flag = {'command': ['-c', program], 'module': ['-m', program], 'stdin': ['-'], 'prompt': [],
                'script': [program]}[kind]
        sys.orig_argv[at:] = flag + arguments
    folders = [os.path.dirname(init)] + ([directory] if directory else [])
    sys.path[:0] = folders
    sys.argv[:] = [init]
    main['__file__'] = init
    try:
        with open(init, 'rb') as file:
            exec(compile(file.read(), init, 'exec', dont_inherit=True), main)
    except BaseException as error:
        print(f'brood: the init file {init} failed; the program runs without it', file=sys.stderr)
        traceback.print_exception(type(error), error, error.__traceback__.tb_next)
    main.pop('__file__', None)
    for folder in folders:
        if folder in sys.path:
            sys.path.remove(folder)
    safe = getattr(sys.flags, 'safe_path', sys.flags.isolated)
    if kind == 'prompt':  # python -i goes on from here
        sys.argv[:] = ['']
        if not safe:
            sys.path.insert(0, '')
        return
    if kind == 'module':
        sys.argv[:] = ['-m'] + arguments
        if not safe:
            sys.path.insert(0, os.getcwd())
        runpy._run_module_as_main(program)
        return
    if kind == 'script':
        sys.argv[:] = [program] + arguments
        if os.path.isdir(program) or __import__('zipfile').is_zipfile(program):
            sys.path.insert(0, program)
            runpy._run_module_as_main('__main__', False)
            return
        if not safe:
            sys.path.insert(0, os.path.dirname(os.path.realpath(program)))
        main['__file__'] = program
        main['__cached__'] = None
        with open(program, 'rb') as file:
            source, name = file.read(), program
    else:
        sys.argv[:] = ['-c' if kind == 'command' else '-'] + arguments
        if not safe:
            sys.path.insert(0, '')
        source, name = (program, '<string>') if kind == 'command' else (sys.stdin.buffer.read(), '<stdin>')
    exec(compile(source, name, 'exec', dont_inherit=True), main)
_brood_start()
)py";

}  // namespace brood
