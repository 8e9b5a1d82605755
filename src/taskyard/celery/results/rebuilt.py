"""An exception made from its stored name and text, without running anything that the name may point to."""

from __future__ import annotations

import builtins
import sys
from typing import Any, cast


def rebuilt(name: str, text: str) -> Exception:
    """An exception of the class that was stored, if this process has imported it, holding the stored text.

    Never imports, calls or instantiates what is no ordinary exception: what is stored may have been written by somebody
    else. The class's own ``__init__`` is not run, so that attributes it would set are missing. Anything that cannot
    be had this way is a plain exception of that name.
    """
    found = _find(name)
    if found is not None:
        # The built-in class below it makes the object: nothing of the class's own code runs.
        maker: Any = next(base for base in found.__mro__ if base.__module__ == "builtins")
        try:
            made = maker.__new__(_readable(found), text)
            if isinstance(made, Exception) and made.args == (text,):
                return made
        except TypeError:
            pass
    last = name.rpartition(".")[2]
    made_up = type(last if last.isidentifier() else "Exception", (Exception,), {"__module__": __name__})
    return cast("type[Exception]", made_up)(text)


def _readable(found: type[Exception]) -> type[Exception]:
    # Some show themselves by attributes that only their __init__ sets.
    if found.__str__ in (BaseException.__str__, OSError.__str__):
        return found
    return type(found.__name__, (found,), {"__module__": found.__module__, "__str__": lambda self: self.args[0]})


def _find(name: str) -> type[Exception] | None:
    """The exception class of that dotted name among the modules that are loaded."""
    module_name, _, qualified = name.rpartition(".")
    if not module_name:
        found = vars(builtins).get(qualified)
    else:
        # A class within a class is stored as "module.Outer.Inner".
        module = sys.modules.get(module_name)
        while module is None and "." in module_name:
            module_name, _, outer = module_name.rpartition(".")
            module, qualified = sys.modules.get(module_name), f"{outer}.{qualified}"
        found = module
        for part in qualified.split("."):
            # Not getattr(): a module's or a class's own __getattr__ must not be asked.
            found = getattr(found, "__dict__", {}).get(part) if found is not None else None
    return found if isinstance(found, type) and issubclass(found, Exception) else None
