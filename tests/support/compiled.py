"""Programs compiled as users compile them: the tests' own default is the fastest compilation."""

import os


def compiled(lowered):
    options: dict = {"xla_backend_optimization_level": 3}
    if "xla_cpu_use_fusion_emitters" in os.environ.get("XLA_FLAGS", ""):
        options["xla_cpu_use_fusion_emitters"] = True
    return lowered.compile(compiler_options=options)
