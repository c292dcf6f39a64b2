"""Whose certificates to trust: the root three ways, and a client certificate (mTLS). Run it to see which ways work."""

import os
import ssl

from gigachat_lite import ConfigurationError, GigaChat, TLSError
from gigachat_lite.russian_root_ca import PEM

ROOT = "corporate-ca.pem"  # the root certificate of your company or of its proxy

context = ssl.create_default_context()  # the system's roots, and one more
if os.path.exists(ROOT):
    context.load_verify_locations(cafile=ROOT)
else:  # the one that most of GigaChat's hosts need
    context.load_verify_locations(cadata=PEM)

WAYS = {
    "1. Ничего не указывать": {},  # for GigaChat's hosts the Russian root is trusted as it is
    "2. Файл с корневым сертификатом": {"ca_bundle_file": ROOT},  # PEM or DER, and no other roots
    "3. Свой ssl_context": {"ssl_context": context},
    "4. Сертификат клиента": {"cert_file": "client.pem", "key_file": "client.key"},  # key_file_password= too
}

for name, settings in WAYS.items():
    try:
        with GigaChat(**settings) as giga:
            print(f"{name}: {giga.config['base_url']} отвечает, моделей: {len(giga.get_models().data)}")
    except ConfigurationError as error:  # a file is missing, or is not what it should be
        print(f"{name}: не настроено: {error}")
    except TLSError as error:  # it says which host, which roots were in use and what to do
        print(f"{name}: не работает: {error}")
