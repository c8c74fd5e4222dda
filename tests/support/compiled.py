"""Programs compiled as users compile them: the tests' own default is the fastest compilation."""


def compiled(lowered):
    return lowered.compile(compiler_options={"xla_backend_optimization_level": 3})
