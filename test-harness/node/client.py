"""The official Python client `x402` with httpx, unmodified. This file only hands it a transport that takes notes.

    PRIVATE_KEY=0x… python client.py            commands as in wire.mjs
"""

import asyncio
import base64
import json
import os
import sys

import httpx
from eth_account import Account
from x402 import x402Client
from x402.http.clients.httpx import x402_httpx_transport
from x402.mechanisms.evm import EthAccountSigner
from x402.mechanisms.evm.exact.register import register_exact_evm_client
from x402.mechanisms.evm.upto import UptoEvmClientScheme

account = Account.from_key(os.environ["PRIVATE_KEY"])
signer = EthAccountSigner(account)
client = x402Client()
register_exact_evm_client(client, signer)
client.register("eip155:*", UptoEvmClientScheme(signer))


def decode(value):
    try:
        return json.loads(base64.b64decode(value))
    except ValueError:
        return None


def read_challenge(response):
    if response.status_code != 402:
        return None
    header = response.headers.get("payment-required")
    if header:
        return decode(header)
    try:
        return json.loads(response.content)
    except ValueError:
        return None


def headers_of(response):
    return {name.lower(): value for name, value in response.headers.items()}


class NotingTransport(httpx.AsyncHTTPTransport):
    def __init__(self, requests):
        super().__init__(trust_env=False)
        self.requests = requests

    async def handle_async_request(self, request):
        note = {"paymentHeader": None, "paymentSignature": None}
        for name in ("PAYMENT-SIGNATURE", "X-PAYMENT"):
            if request.headers.get(name):
                note = {"paymentHeader": name, "paymentSignature": request.headers[name]}
                break
        self.requests.append(note)
        response = await super().handle_async_request(request)
        note["status"] = response.status_code
        note["headers"] = headers_of(response)
        if response.status_code == 402:
            await response.aread()
        note["paymentRequired"] = read_challenge(response)
        return response


async def pay(command):
    requests = []
    transport = x402_httpx_transport(client, NotingTransport(requests))
    async with httpx.AsyncClient(transport=transport, timeout=120) as http:
        response = await http.request(
            command.get("method", "GET"),
            command["url"],
            headers=command.get("headers"),
            content=command.get("body"),
        )
    headers = headers_of(response)
    receipt = headers.get("payment-response") or headers.get("x-payment-response")
    return {
        "status": response.status_code,
        "headers": headers,
        "body": response.text,
        "paymentResponse": decode(receipt) if receipt else None,
        "requests": requests,
    }


def say(value):
    print(json.dumps(value), flush=True)


async def answer(line):
    command_id = None
    try:
        command = json.loads(line)
        command_id = command.get("id")
        if command["op"] != "pay":
            raise ValueError(f"No such operation: {command['op']}")
        say({"id": command_id, "result": await pay(command)})
    except Exception as error:  # whatever the official client throws is its answer
        say({"id": command_id, "error": f"{type(error).__name__}: {error}"})


async def main():
    say({"ready": True, "address": account.address})
    loop = asyncio.get_running_loop()
    answers = set()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.create_task(answer(line))
        answers.add(task)
        task.add_done_callback(answers.discard)


asyncio.run(main())
