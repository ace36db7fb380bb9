# ruff: noqa
"""Mistakes: each line with a mark is one that `mypy --strict` finds."""

import minibuild
from minibuild import Output, Secret

minibuild.build(".", tgas=["app"])  # error
minibuild.build(".", tags="app")  # error
minibuild.build(".", tags=[1])  # error
minibuild.build(".", tags=b"app")  # error
minibuild.build(".", outputs="type=oci,dest=x")  # error
minibuild.build(".", outputs=Output("oci", "x"))  # error
minibuild.build(".", outputs=[Output("zip", "x")])  # error
minibuild.build(".", secrets=Secret("a"))  # error
minibuild.build(".", platforms="linux/amd64")  # error
minibuild.build(".", build_args=["A=b"])  # error
minibuild.build(".", build_args={"A": 1})  # error
minibuild.build(".", labels="a=b")  # error
minibuild.build(".", jobs="2")  # error
minibuild.build(".", pull="sometimes")  # error
minibuild.build(".", network="bridge")  # error
minibuild.build(".", report=print("x"))  # error
minibuild.build(".", cancelled=True)  # error
minibuild.build(".", root=3)  # error
minibuild.build(3)  # error
minibuild.build({"Dockerfile": 3})  # error
minibuild.build(minibuild.BuildRequest(), tags=["a"])  # error
minibuild.build(".", config={"Cmd": ["sh"]})  # error
minibuild.build(minibuild.State(), config={"Cmd": "sh"})  # error
minibuild.State().build(tgas=["app"])  # error
minibuild.State().build(tags="app")  # error
minibuild.State().build(3)  # error
minibuild.State().build(file="Dockerfile")  # error
minibuild.State().build().digests  # error
minibuild.State().run("true", network="bridge")  # error
minibuild.BuildRequest(tags="app")  # error
minibuild.no_such_name  # error
minibuild.build(".").digests  # error
options: minibuild.BuildOptions = {"tags": "app"}  # error
