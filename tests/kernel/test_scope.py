"""The names in a magic inside a function: those that the function's own code can use there."""

from __future__ import annotations

import pytest


def sent(sim):
    """The last user's turn, as text."""
    content = sim.requests[-1].body["messages"][-1]["content"]
    return content if isinstance(content, str) else "\n".join(block.get("text", "") for block in content)


@pytest.fixture(autouse=True)
def _outer_names(kernel):
    kernel.run("city = 'global'\n%config ClaudeMagics.thinking = 'hide'")


RUN = "get_ipython().run_line_magic('claude', 'In {{ city }}')"


@pytest.mark.parametrize(
    "code",
    [
        "def f(city):\n    %claude In {{ city }}\nf('Oslo')",
        "def f(city):\n    r = %claude In {{ city }}\n    return r\nf('Oslo')",
        f"def f(city):\n    return {RUN}\nf('Oslo')",
        "def f(city):\n    get_ipython().run_cell_magic('claude', '', 'In {{ city }}')\nf('Oslo')",
        f"[{RUN} for city in ['Oslo']]",
        f"def f(city):\n    return [{RUN} for _ in range(1)]\nf('Oslo')",
        f"(lambda city: {RUN})('Oslo')",
        "def f(city):\n    def g():\n        %claude In {{ city }}\n    g()\nf('Oslo')",
        "def f(city):\n    def g():\n        %claude In {{ city }}\n    return g\nf('Oslo')()",
        "class C:\n    def f(self, city):\n        %claude In {{ city }}\nC().f('Oslo')",
        "class C:\n    city = 'Oslo'\n    %claude In {{ city }}",
        "async def f(city):\n    %claude In {{ city }}\nawait f('Oslo')",
        "def f():\n    city = 'Bergen'\n    city = 'Oslo'\n    %claude --raw -a city In {{ city }}\nf()",
        "def ask(line):\n    get_ipython().run_line_magic('claude', line, 2)\n"
        "def f(city):\n    ask('In {{ city }}')\nf('Oslo')",
        "def f(city):\n    for city in ('Bergen', 'Oslo'):\n        %claude In {{ city }}\nf('')",
        "def f(city):\n    r = %claude --bg In {{ city }}\n    r.result()\nf('Oslo')",
    ],
)
def test_a_variable_of_the_function_is_meant(kernel, sim, code):
    """Not a global one of the same name: in functions, methods, comprehensions, classes and coroutines, and with
    run_line_magic."""
    run = kernel.run(code)

    assert run.status == "ok", run.summary()
    assert "Oslo" in sent(sim)
    assert "global" not in sent(sim)


def test_a_name_that_the_function_does_not_have_is_the_notebooks(kernel, sim):
    """The notebook's history is accessible, too."""
    kernel.run("'the last output'")

    kernel.run("def f(x):\n    %claude {{ x }} in {{ city }} after {{ _ }}\nf(1)")

    assert sent(sim) == "1 in global after the last output"


def test_a_function_of_a_module_sees_its_modules_names(kernel, sim, tmp_path):
    """Like its code, and then those of the notebook."""
    (tmp_path / "helper_of_claude.py").write_text(
        "from IPython import get_ipython\ncity = 'Turku'\n"
        "def f():\n    get_ipython().run_line_magic('claude', '{{ city }} {{ mine }}')\n"
    )

    kernel.run(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); mine = 7; import helper_of_claude as h; h.f()"
    )

    assert sent(sim) == "Turku 7"


def test_explain_and_schema_and_tools_find_the_functions_own_names(kernel, sim):
    """Every option that takes a name does."""
    kernel.run("def f():\n    local_value = 'only here'\n    %claude explain local_value\nf()")
    assert "only here" in sent(sim)

    kernel.run(
        "def f():\n    from dataclasses import dataclass\n    @dataclass\n    class Point:\n        x: int\n"
        "    %claude --schema Point a point\nf()"
    )
    assert "x" in sim.requests[-1].body["output_config"]["format"]["schema"]["properties"]

    kernel.run(
        "def f():\n    def local_tool(n: int) -> int:\n        'Double it.'\n        return 2 * n\n"
        "    %claude --tools local_tool --approve never Hello\nf()"
    )
    assert [tool["name"] for tool in sim.requests[-1].body["tools"]] == ["local_tool"]


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    answer = None\n    %claude -o answer Hi\n    return answer.text",
        "def f():\n    %claude -o answer Hi\n    return answer.text",
        "def f():\n    %claude answer << Hi\n    mine = answer\n    answer = mine\n    return answer.text",
        "def f():\n    answer = None\n    keep = lambda: answer\n    %claude -o answer Hi\n    return keep().text",
        "def f():\n    answer = None\n    %claude --compare haiku,sonnet -o answer Hi\n    return answer['haiku'].text",
        "async def g():\n    answer = None\n    %claude -o answer Hi\n    return answer.text\nout = await g()\n"
        "def f():\n    return out",
    ],
)
def test_out_binds_what_an_assignment_there_would(kernel, code):
    """A local variable of the function if there is one, else a global one."""
    kernel.run("answer = 'before'")

    run = kernel.run(f"{code}\ntext = f()")

    assert run.status == "ok", run.summary()
    assert kernel.value("bool(text)") == "True"
    is_local = "answer = " in code
    assert (kernel.value("answer") == "'before'") is is_local


def test_the_frame_is_let_go_of_when_the_answer_is_there(kernel):
    """Large objects of the function are freed."""
    kernel.run(
        "import weakref, gc\nclass Big: pass\n"
        "def f():\n    global ref\n    big = Big(); ref = weakref.ref(big)\n    %claude --quiet {{ city }}\nf()"
    )

    kernel.run("gc.collect()")

    assert kernel.value("ref() is None") == "True"


@pytest.mark.parametrize(
    "code",
    [
        "def f(city):\n    %time %claude In {{ city }}\nf('Oslo')",
        "def f(city):\n    get_ipython().run_line_magic('time', '%claude In {{ city }}')\nf('Oslo')",
        "import threading\ndef f(city):\n    %claude In {{ city }}\nt = threading.Thread(target=f, args=('Oslo',)); t.start(); t.join()",
        f"exec({chr(34) * 3}city = 'Oslo'\n{RUN}{chr(34) * 3}, {{'get_ipython': get_ipython}})",
        "def outer(city):\n    class K:\n        def m(self):\n            %claude In {{ city }}\n    return K()\nouter('Oslo').m()",
        "async def outer(city):\n    import asyncio\n    async def inner():\n        await asyncio.sleep(0)\n"
        "        %claude In {{ city }}\n    await asyncio.gather(inner())\nawait outer('Oslo')",
    ],
)
def test_it_holds_in_other_places_too(kernel, sim, code):
    """Inside `%time`, in threads, in executed code, in classes in functions, in tasks."""
    run = kernel.run(code)

    assert run.status == "ok", run.summary()
    assert "Oslo" in sent(sim)
