"""Tensor types with named axes for annotations, e.g. `Float[Tensor, "b t c h w"]`; the test run checks them.

`_` is an axis of any size. They are jaxtyping's where it is installed; without it they say nothing at run time.
"""

from typing import TYPE_CHECKING, Annotated

__all__ = ["Bool", "Float", "Int", "Num"]

if TYPE_CHECKING:
    from typing import Annotated as Bool
    from typing import Annotated as Float
    from typing import Annotated as Int
    from typing import Annotated as Num
else:
    try:
        from jaxtyping import Bool, Float, Int, Num
    except ImportError:
        Bool = Float = Int = Num = Annotated
